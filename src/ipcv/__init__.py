"""Information-preserving compression of the vision encoders of multimodal language models."""

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers know it; typing itself takes longer than all else here

if TYPE_CHECKING:
    from ipcv.public import *  # noqa: F403
    from ipcv.public import __all__ as __all__
else:

    def __getattr__(name: str) -> object:
        """A name of `ipcv.public`, imported when it is first asked for: torch takes seconds."""
        if name == "__all__" or not name.startswith("_"):
            public = import_module("ipcv.public")
            if name == "__all__" or name in public.__all__:
                return getattr(public, name)
        raise AttributeError(f"module 'ipcv' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *import_module("ipcv.public").__all__})
