"""``edgekit deploy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.completion import device_names
from edgekit.cli.terminal import AsJson, Verbose, print_json, print_table_or_lines, say, watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.pipeline.rollout import Arrival

DeployDevice = Annotated[
    str, typer.Option("--device", metavar="URL|NAME", help="Such as ssh://pi@10.0.0.7, or a name of devices.toml.", autocompletion=device_names)
]


DeployOnto = Annotated[
    str,
    typer.Option("--device", metavar="URL|NAME|lab:…", help="A device; or lab:all, lab:TAG for several at once.", autocompletion=device_names),
]


def deploy(  # noqa: PLR0913 - one argument an option, as typer has it
    bundle: Annotated[Path, typer.Argument(help="A signed file of `edgekit bundle`.")],
    device: DeployOnto,
    trust_keys: Annotated[Path | None, typer.Option(metavar="FILE.pub", help="Whose bundles a device takes from now on that took none yet.")] = None,
    keep: Annotated[int, typer.Option(min=1, help="Slots that stay on the device.")] = 3,
    trial_s: Annotated[float, typer.Option("--trial-s", min=0.0, help="Seconds it is watched before it counts as good.")] = 120.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the end of that; the device goes on watching.")] = False,
    max_mb: Annotated[int, typer.Option(min=1, help="A larger bundle is refused, MB.")] = 4096,
    unit: Annotated[bool, typer.Option("--unit", help="Write a systemd unit there that asks it after each start.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Install a bundle on a device: checked there, tried there, switched to at once, and back again if its first minutes fail."""
    from edgekit.deploy import Terms
    from edgekit.deploy import deploy as deploy_bundle
    from edgekit.device.inventory import is_fleet
    from edgekit.errors import DeviceError

    terms = Terms(trust_keys=trust_keys, keep=keep, trial_s=trial_s, wait=not no_wait, most_mb=max_mb, unit=unit)
    if is_fleet(device):
        from edgekit.pipeline.rollout import deploy_fleet

        with watching(verbose=verbose) as watcher:
            arrivals = deploy_fleet(bundle, device, terms, watcher=watcher)
        return _show_fleet(arrivals, as_json=as_json)
    with watching(verbose=verbose) as watcher:
        found = deploy_bundle(bundle, device, terms, watcher=watcher)
    if as_json:
        print_json(found)
        return DeviceError.exit_status if found.gave_way else 0
    running = found.running
    if found.gave_way:
        reason = next(one.reason for one in found.installed.slots if one.slot == found.slot)
        say(f"{found.device}: {found.app} failed its trial ({reason}); version {running.version if running else 'none'} runs")
        return DeviceError.exit_status
    health = found.health
    timed = f", {health.p50_ms:.2f} ms a query (median)" if health.is_timed and health.p50_ms is not None else ""
    say(f"{found.device}: {found.app} {running.version if running else ''} runs, {running.status if running else ''}; signed by {found.signer}")
    slots = "1 slot is" if len(found.installed.slots) == 1 else f"{len(found.installed.slots)} slots are"
    say(f"  known inputs: {health.difference:.3g} from the recorded outputs{timed}; {slots} there")
    if found.unit:
        say(f"  systemctl --user enable --now {found.unit}")
    return 0


def _show_fleet(arrivals: Sequence[Arrival], *, as_json: bool) -> int:
    """One row a device, then what went wrong where; returns the exit status of the first error."""
    if as_json:
        print_json(arrivals)
    else:
        running = [(one, one.deployed.running if one.deployed else None) for one in arrivals]
        rows = [(one.device, str(slot.version) if slot else "", slot.status if slot else "", slot.title if slot else "") for one, slot in running]
        print_table_or_lines(("Device", "runs", "status", "what"), rows)
        for one in arrivals:
            if one.error:
                say(f"{one.device}: {one.error}\n  hint: {one.hint}")
    return next((one.exit_status for one in arrivals if one.error), 0)
