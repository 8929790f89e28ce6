#!/usr/bin/python3
"""A text field; prints `focus` when it has the keyboard and `text "…"` (JSON) whenever its text changes."""

import json

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gtk  # noqa: E402


def say(line):
    print(line, flush=True)


window = Gtk.Window(title="deskgate entry")
window.set_default_size(600, 200)
entry = Gtk.Entry()
window.add(entry)
entry.connect("focus-in-event", lambda *_: say("focus"))
entry.connect("changed", lambda e: say("text " + json.dumps(e.get_text())))
window.connect("destroy", Gtk.main_quit)
window.show_all()
Gtk.main()
