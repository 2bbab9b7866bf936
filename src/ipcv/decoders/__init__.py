"""Dropping image tokens inside the language model: one method per file, one engine for all."""

from ipcv.decoders.dart import DART
from ipcv.decoders.fastv import FastV
from ipcv.decoders.method import LanguageMethod
from ipcv.decoders.random_drop import RandomDrop
from ipcv.decoders.v2drop import V2Drop

METHODS: dict[str, type[LanguageMethod]] = {
    "dart": DART,
    "fastv": FastV,
    "v2drop": V2Drop,
    "random": RandomDrop,
}
"""The methods by the name they have on the command line."""

__all__ = ["DART", "METHODS", "FastV", "LanguageMethod", "RandomDrop", "V2Drop"]
