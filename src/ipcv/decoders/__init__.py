"""Dropping image tokens inside the language model: one method per file, one engine for all."""

from ipcv.decoders.dart import DART
from ipcv.decoders.fastv import FastV
from ipcv.decoders.method import LanguageMethod
from ipcv.decoders.random_drop import RandomDrop
from ipcv.decoders.v2drop import V2Drop

__all__ = ["DART", "FastV", "LanguageMethod", "RandomDrop", "V2Drop"]
