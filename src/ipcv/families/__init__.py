"""The families of models that are supported: a record of each, and how one is found."""

from ipcv.families.find import (
    adapter_for,
    family_of,
    find_decoder,
    find_encoder,
    model_type_of,
    patches_per_token,
    supported_model_types,
)
from ipcv.families.records import DecoderKind, EncoderKind, Family, Size, Tuned
from ipcv.families.table import FAMILIES
from ipcv.families.unsupported import UNSUPPORTED

__all__ = [
    "FAMILIES",
    "UNSUPPORTED",
    "DecoderKind",
    "EncoderKind",
    "Family",
    "Size",
    "Tuned",
    "adapter_for",
    "family_of",
    "find_decoder",
    "find_encoder",
    "model_type_of",
    "patches_per_token",
    "supported_model_types",
]
