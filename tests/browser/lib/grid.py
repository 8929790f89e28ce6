#!/usr/bin/python3
"""Covers the screen with 3×3 colours: nine of them a line on standard input, a line back once they are shown."""

import sys

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import GdkPixbuf, GLib, Gtk  # noqa: E402

width, height = int(sys.argv[1]), int(sys.argv[2])
# Not managed by any window manager; the pointer goes on being the other windows'.
window = Gtk.Window(type=Gtk.WindowType.POPUP)
window.set_default_size(width, height)
image = Gtk.Image()
window.add(image)


def draw(colours):
    picture = GdkPixbuf.Pixbuf.new(GdkPixbuf.Colorspace.RGB, False, 8, width, height)
    edges = [[size * i // 3 for i in range(4)] for size in (width, height)]
    for cell, colour in enumerate(colours):
        row, column = divmod(cell, 3)
        left, right = edges[0][column : column + 2]
        top, bottom = edges[1][row : row + 2]
        picture.new_subpixbuf(left, top, right - left, bottom - top).fill(int(colour[1:] + "ff", 16))
    image.set_from_pixbuf(picture)


def told(source, _condition):
    line = source.readline()
    if not line:
        Gtk.main_quit()
        return False
    draw(line.split())
    window.show_all()
    # After the frame that draws it, and the X server's answer to it.
    GLib.idle_add(shown, priority=GLib.PRIORITY_LOW)
    return True


def shown():
    window.get_display().sync()
    print("shown", flush=True)


GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, told)
Gtk.main()
