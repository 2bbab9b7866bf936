"""Methods that drop image tokens inside the language model, and one engine for all."""

from ipcv.language.dart import DART
from ipcv.language.fastv import FastV
from ipcv.language.method import LanguageMethod
from ipcv.language.random_drop import RandomDrop
from ipcv.language.v2drop import V2Drop

__all__ = ["DART", "FastV", "LanguageMethod", "RandomDrop", "V2Drop"]
