"""What scripts do and an image does not need, each with its reason. Reviewed by hand: add nothing without one."""

from __future__ import annotations

IRRELEVANT: dict[str, str] = {
    "deb-systemd-helper": "no init system starts services in an image",
    "deb-systemd-invoke": "nothing runs while an image is made",
    "invoke-rc.d": "nothing runs while an image is made",
    "service": "nothing runs while an image is made",
    "sync": "nothing is lost in a model",
    "start-stop-daemon": "nothing runs while an image is made",
    "udevadm": "a container has no devices to manage",
    "dbus-send": "nothing runs while an image is made",
    "update-initramfs": "a container has no kernel of its own",
    "depmod": "a container has no kernel of its own",
    "mandb": "manuals are left out of the image",
    "update-menus": "no desktop",
    "update-desktop-database": "no desktop: what programs open files is asked by file managers only",
    "gtk-update-icon-cache": "GTK reads the folders where there is no cache",
    "update-icon-caches": "GTK reads the folders where there is no cache",
    "fc-cache": "fontconfig reads the fonts, and keeps a cache of its own",
    "install-info": "Info manuals are left out of the image",
    "update-info-dir": "Info manuals are left out of the image",
    "aa-status": "no AppArmor in a container",
    "apparmor_parser": "no AppArmor in a container",
    "newaliases": "needs a mail server's own database; none runs in an image",
    "restorecon": "no SELinux labels in a layer",
    "modprobe": "a container has no kernel of its own",
    "sysctl": "the kernel's settings are the host's",
    "dpkg-reconfigure": "nobody is asked",
    "debconf-communicate": "nobody is asked",
    "killall": "nothing runs while an image is made",
    "pkill": "nothing runs while an image is made",
    "telinit": "nothing runs while an image is made",
    "py3clean": "there is no older bytecode",
    "pyclean": "there is no older bytecode",
    "py3compile": "Python compiles what it imports where there is no bytecode",
    "update-xmlcatalog": "catalogs of document types are for tools that publish documents",
    "update-catalog": "catalogs of document types are for tools that publish documents",
    "dbus-uuidgen": "the identity of a machine must not be that of everybody who has the image",
    "systemd-machine-id-setup": "the identity of a machine must not be that of everybody who has the image",
    "journalctl": "no journal is written in a container",
    "runit-helper": "no init system starts services in an image",
    "systemctl": "nothing runs while an image is made",
    "update-rc.d": "no init system starts services in an image",
}
"""Programs by name: doing nothing is right, and they succeed."""

CALLS: tuple[tuple[str, str], ...] = (
    (r"\S*\bjava -version\b", "Java's certificates are put together without Java"),
    (r"\S*/runtime\.d/\S+\.rtupdate\b", "Python compiles what it imports where there is no bytecode"),
    (r"\S*/python3\.\d+ .*/py_compile\.py\b", "bytecode is compiled when the interpreter's layer is made"),
)
"""Calls by a regular expression that their beginning matches."""

SCRIPTS: dict[tuple[str, str], str] = {}
"""Whole scripts by (package, script)."""
