"""What is in a bundle and what made it, as a bill of materials in CycloneDX 1.6, by its own library."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING

from edgekit.bundle.manifest import Listed, Manifest
from edgekit.extras import extra

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

NAMESPACE = uuid.UUID("b4f5a3b0-6a55-5d5c-9a0e-1f8f3c2a7e10")
"""Of serial numbers that follow from the contents; drawn once."""


def render(manifest: Manifest, members: tuple[Listed, ...]) -> bytes:
    """The bill of a bundle, as JSON; the same for the same bundle.

    Args:
        manifest: all but its members.
        members: the files that are listed.

    Raises:
        MissingExtraError: the library is not installed.
    """
    with extra("bundle"):
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6

    model = Component(
        name=manifest.name,
        version=str(manifest.version),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="bundle",
        description=manifest.title,
        licenses=_licences(manifest.licence.model),
    )
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, manifest.encoded().decode() + repr(members)),
        metadata=BomMetaData(component=model, timestamp=datetime.datetime.fromisoformat(manifest.created)),
        components=[*(_file(member) for member in members), *_origins(manifest), *_packages(manifest)],
    )
    bom.metadata.tools.components.add(Component(name="edgekit", version=manifest.edgekit, type=ComponentType.APPLICATION, bom_ref="edgekit"))
    bom.register_dependency(model, bom.components)
    return f"{JsonV1Dot6(bom).output_as_string(indent=1)}\n".encode()


def _file(member: Listed) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(name=member.path, type=ComponentType.FILE, bom_ref=f"file:{member.path}", hashes=[_sha256(member.sha256)])


def _origins(manifest: Manifest) -> list[Component]:
    from cyclonedx.model.component import Component, ComponentType

    origin = manifest.origin
    found = [
        Component(
            name=origin.source,
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref="source",
            description=f"the {origin.format} model that was built from",
            hashes=[_sha256(origin.sha256)],
            licenses=_licences(manifest.licence.model),
        )
    ]
    if origin.samples:
        found.append(
            Component(
                name=origin.samples,
                type=ComponentType.DATA,
                bom_ref="samples",
                description="samples that calibrated and judged; their pixels are not in the bundle, but for a few known inputs",
                hashes=[_sha256(origin.samples_sha256)],
                licenses=_licences(manifest.licence.samples),
            )
        )
    return found


def _packages(manifest: Manifest) -> list[Component]:
    """Python packages: those that made it, and those that the device must have."""
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from packageurl import PackageURL

    made = [
        Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"made-with:{name}",
            scope=ComponentScope.EXCLUDED,
            purl=PackageURL("pypi", name=name.lower(), version=version),
        )
        for name, version in manifest.tools.items()
        if name != "edgekit"
    ]
    needed = [
        Component(
            name=name, type=ComponentType.LIBRARY, bom_ref=f"needs:{name}", scope=ComponentScope.REQUIRED, purl=PackageURL("pypi", name=name.lower())
        )
        for name in manifest.needs
    ]
    return [*made, *needed]


def _sha256(digest: str) -> HashType:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _licences(text: str) -> list[License]:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(text)] if text else []
