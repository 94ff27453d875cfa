"""Deploying: a bundle onto a device, what is installed there, and back to what ran before."""

from edgekit.deploy.deploying import KEEP, MOST_MB, TRIAL_S, Deployed, Terms, deploy
from edgekit.deploy.site import Health, Installed, Site, Slot, site_of
from edgekit.deploy.unit import unit_of

__all__ = ["KEEP", "MOST_MB", "TRIAL_S", "Deployed", "Health", "Installed", "Site", "Slot", "Terms", "deploy", "site_of", "unit_of"]
