"""Invoices as PDF, set by typst from the folders of fonts that ACS_INVOICE_FONTS names. Texts come in as data, never as markup."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import typst
from django.conf import settings
from django.utils.translation import gettext as _

from billing.documents.telling import tell
from billing.errors import NoInvoiceFont
from billing.papers import Paper

PAGE = Path(__file__).with_name("invoice.typ")
LATIN = ("Noto Sans", "DejaVu Sans", "Liberation Sans", "Libertinus Serif")  # typst brings the last one
CHINESE = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Noto Serif CJK SC", "WenQuanYi Zen Hei")
EASTERN = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


def render(paper: Paper) -> bytes:
    """The same bytes again for the same paper. Raises: NoInvoiceFont where it has Chinese characters and no folder a font for them."""
    told = tell(paper)
    fonts = _fonts(tuple(settings.INVOICE_FONTS))
    invoice = paper.invoice
    told["fonts"] = _families(fonts, told)
    made = typst.compile(
        PAGE.read_bytes(),
        font_paths=fonts,
        ignore_system_fonts=True,
        format="pdf",
        sys_inputs={"told": json.dumps(told, ensure_ascii=False)},
        timestamp=(invoice.issued_at or invoice.made_at).replace(microsecond=0),
    )
    return bytes(made)


def _families(fonts: typst.Fonts, told: dict[str, Any]) -> list[str]:
    known = set(fonts.families())
    latin, chinese = [each for each in LATIN if each in known], [each for each in CHINESE if each in known]
    if not chinese and EASTERN.search(json.dumps(told, ensure_ascii=False)):
        folders = ", ".join(settings.INVOICE_FONTS)
        raise NoInvoiceFont(
            _("no Chinese font in %(folders)s: install fonts-noto-cjk, or name its folder in ACS_INVOICE_FONTS") % {"folders": folders}
        )
    return [*chinese, *latin] if told["language"] == "zh" else [*latin, *chinese]


@lru_cache(maxsize=4)
def _fonts(folders: tuple[str, ...]) -> typst.Fonts:
    """Looked for once a process."""
    return typst.Fonts(
        include_system_fonts=False, include_embedded_fonts=True, font_paths=[each for each in folders if Path(each).is_dir()]
    )
