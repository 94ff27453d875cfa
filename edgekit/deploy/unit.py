"""A systemd unit, for those who want one: what was installed is asked after each start, and gives way where it fails."""

from __future__ import annotations

from string import Template

TRIAL_S = 600
EVERY_S = 3600

_UNIT = Template("""# Written by edgekit. As the user who deploys, no root needed:
#   systemctl --user enable --now $folder/edgekit-$name.service
#   loginctl enable-linger           so that it starts with the device, not with your login
[Unit]
Description=edgekit: $name answers as it was measured, or gives way to what ran before

[Service]
Type=exec
Environment=EDGEKIT_APPS=$root PYTHONPATH=$root/agent PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/env $python -m edgekit_run.apps keep $name $trial_s $every_s
Restart=always
RestartSec=30
Nice=5
NoNewPrivileges=yes

[Install]
WantedBy=default.target
""")


def unit_of(name: str, root: str, python: str) -> str:
    """The unit of an application.

    Args:
        name: of the application.
        root: folder of all applications on the device.
        python: the interpreter there.
    """
    return _UNIT.substitute(name=name, root=root, folder=f"{root}/{name}", python=python, trial_s=TRIAL_S, every_s=EVERY_S)
