//! PURE. Whether the gateway has a display and an encoder.

use super::{Verdict, no, suspended, unknown, yes};
use crate::crd::GpuEncoder;
use crate::operator::decide::{Decision, Stage};
use crate::operator::reason::Reason;
use crate::operator::refusal::bounded;
use crate::operator::snapshot::{GatewayState, Snapshot};

pub(super) fn stream(snapshot: &Snapshot, decision: &Decision) -> Verdict {
    match &decision.stage {
        Stage::Terminating => return no(Reason::Terminating, ""),
        Stage::Off(reason) => return no(*reason, suspended(*reason)),
        _ if snapshot.pod.ours().is_none() => return no(Reason::WaitingForPod, "no pod yet"),
        _ => {}
    }
    match snapshot.gateway_state() {
        None => no(Reason::WaitingForPod, "the gateway has not been asked yet"),
        Some(Err(why)) => unknown(Reason::GatewayUnreachable, bounded(why)),
        Some(Ok(state)) => judge(state, decision),
    }
}

fn judge(state: &GatewayState, decision: &Decision) -> Verdict {
    if let Some(what) = &state.display_waits {
        return no(Reason::WaitingForDisplay, bounded(what));
    }
    let causes = || {
        let each: Vec<String> = state.unusable.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        bounded(&each.join("; "))
    };
    let Some(encoder) = &state.encoder else {
        return if state.exhausted {
            no(Reason::NoEncoder, causes())
        } else {
            no(Reason::StreamStarting, "the gateway tries its encoders")
        };
    };
    let gpu = decision.effective.as_ref().is_ok_and(|effective| {
        effective.compute.gpu > 0 && effective.compute.gpu_encoder != GpuEncoder::None
    });
    if gpu && !state.hardware {
        let message = format!(
            "encoded by {encoder} in software though the template's gpu.encoder asks for the GPU. {}",
            causes()
        );
        return yes(Reason::EncoderFellBack, message);
    }
    yes(Reason::Streaming, format!("encoded by {encoder}"))
}
