"""The one step of the build that pyproject.toml cannot say: the file of all settings goes into the wheel, too."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithSettings(build_py):
    """Puts config.toml into the package `core`; from a checkout it is read where it stands."""

    def run(self) -> None:
        """Copy the modules and their data, then the settings."""
        super().run()
        if not self.editable_mode:
            self.copy_file("config.toml", str(Path(self.build_lib, "core", "config.toml")))


setup(cmdclass={"build_py": WithSettings})
