"""A device's name as a DNS label."""

from __future__ import annotations

_SEPARATORS = " .@_"


def label_of(hostname: str) -> str:
    """A device's own name as a DNS label: lower case, separators as hyphens, other characters dropped."""
    for suffix in (".local", ".localdomain", ".lan"):
        hostname = hostname.removesuffix(suffix)
    kept = hostname[:63]
    while kept and not _is_alphanumeric(kept[0]):
        kept = kept[1:]
    while kept and not _is_alphanumeric(kept[-1]):
        kept = kept[:-1]
    return "".join(
        "-" if sign in _SEPARATORS else sign.lower() for sign in kept if sign in _SEPARATORS or sign == "-" or _is_alphanumeric(sign)
    )


def label_fault(label: str) -> str | None:
    """Why `label` is no DNS label, in headscale's words; None when it is one."""
    if not label:
        return "empty DNS label"
    if len(label) > 63:
        return f'"{label}" is too long, max length is 63 bytes'
    if not _is_alphanumeric(label[0]):
        return f'"{label}" is not a valid DNS label: must start with a letter or number'
    if not _is_alphanumeric(label[-1]):
        return f'"{label}" is not a valid DNS label: must end with a letter or number'
    wrong = next((sign for sign in label if sign != "-" and not _is_alphanumeric(sign)), None)
    return f"\"{label}\" is not a valid DNS label: contains invalid character '{wrong}'" if wrong else None


def _is_alphanumeric(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()
