"""The source distribution: whoever builds from it can run these tests, and the stack."""

import tarfile
from pathlib import Path

from hatchling.builders.sdist import SdistBuilder

ROOT = Path(__file__).parents[2]

STACK = {
    ".dockerignore",
    "Dockerfile",
    "docker-compose.yml",
    *(str(path.relative_to(ROOT)) for path in (ROOT / "deploy").rglob("*.*") if path.is_file()),
}


def test_the_source_distribution_has_what_the_containers_need(tmp_path: Path) -> None:
    """Every file of the stack, with the example of its passwords."""
    built = next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path for path in STACK if "__pycache__" not in path}
    assert "deploy/.env.example" in wanted
    assert wanted <= names
