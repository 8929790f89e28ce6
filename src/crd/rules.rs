//! PURE. Texts of validation rules that several fields share.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Longest text that a CEL rule touches: its cost is estimated from this.
pub const SHORT: u32 = 64;

/// A Kubernetes quantity, as `resource.Quantity` parses it, without sign.
pub const QUANTITY: &str = r"^([0-9]+(\.[0-9]{1,3})?|\.[0-9]{1,3})(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$";

/// Memory of a container.
pub const MEMORY: &str = r"^[0-9]{1,12}([.][0-9]{1,3})?(k|Ki|M|Mi|G|Gi|T|Ti)?$";

/// Size of a home.
pub const SIZE: &str = r"^[1-9][0-9]{0,11}(k|Ki|M|Mi|G|Gi|T|Ti)?$";

/// A DNS subdomain (RFC 1123), as most names of Kubernetes are.
pub const SUBDOMAIN: &str = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";

/// A span of time: `90m`, `8h30m`, `45s`, `2d`.
pub const TIMEOUT: &str = r"^(0|([0-9]{1,6}[dhms]){1,4})$";

/// A span of time as a text, or seconds as a number: ten years at most. Written with `string`, which every CEL has for both
/// types, and not with `type`.
pub const TIMEOUT_RULE: &str = "string(self).matches('^[0-9]{1,9}$') ? int(string(self)) <= 315360000 \
    : string(self).matches('^([0-9]{1,6}[dhms]){1,4}$')";

/// Processors: whole ones, parts of one, or thousandths.
pub const CPU_RULE: &str = "string(self).matches('^[0-9]{1,4}$') \
    ? int(string(self)) > 0 && int(string(self)) <= 1024 \
    : string(self).matches('^([0-9]{1,4}[.][0-9]{1,3}|[0-9]{1,7}m)$')";

/// What a field is about stands at the field, not at the type of what it may say.
pub fn undescribed(schema: &mut Schema) {
    schema.remove("description");
}

/// An integer or a text, as `cpu: 2` and `timeout: 0` are written by people.
pub fn int_or_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true, "maxLength": SHORT })
}

/// Objects of Kubernetes' own API that are passed on as they are: the API server checks them when the pod is made.
pub fn pass_through(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list-map by `type`, so that another field manager can own a condition (server-side apply).
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<super::Condition>();
    json_schema!({
        "type": "array", "items": item, "maxItems": 32,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}

/// Environment variables: names bounded, so that a rule over them has a cost limit; the rest is Kubernetes' own.
pub fn env(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 128,
        "items": {
            "type": "object", "required": ["name"],
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {
                "name": { "type": "string", "description": "Its name.", "minLength": 1, "maxLength": 128, "pattern": "^[-._a-zA-Z][-._a-zA-Z0-9]*$" },
                "value": { "type": "string", "description": "Its value; or valueFrom, as in a pod.", "maxLength": 32768 },
            },
        },
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    })
}

/// Resource names with quantities.
pub fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 32, "pattern": QUANTITY },
    })
}
