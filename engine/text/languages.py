"""Codes of languages: two letters (ISO 639-1) where a language has them, as LibreTranslate's clients expect."""

from __future__ import annotations

import re

# Two letters, three letters (ISO 639-3), name in English.
_TABLE = """
af afr Afrikaans|am amh Amharic|ar ara Arabic|as asm Assamese|ay aym Aymara|az aze Azerbaijani|ba bak Bashkir
be bel Belarusian|bg bul Bulgarian|bm bam Bambara|bn ben Bengali|bo bod Tibetan|br bre Breton|bs bos Bosnian
ca cat Catalan|cs ces Czech|cv chv Chuvash|cy cym Welsh|da dan Danish|de deu German|dz dzo Dzongkha|ee ewe Ewe
el ell Greek|en eng English|eo epo Esperanto|es spa Spanish|et est Estonian|eu eus Basque|fa fas Persian|ff ful Fulah
fi fin Finnish|fj fij Fijian|fo fao Faroese|fr fra French|fy fry Western Frisian|ga gle Irish|gd gla Scottish Gaelic
gl glg Galician|gn grn Guarani|gu guj Gujarati|gv glv Manx|ha hau Hausa|he heb Hebrew|hi hin Hindi|hr hrv Croatian
ht hat Haitian|hu hun Hungarian|hy hye Armenian|ia ina Interlingua|id ind Indonesian|ie ile Interlingue|ig ibo Igbo
io ido Ido|is isl Icelandic|it ita Italian|iu iku Inuktitut|ja jpn Japanese|jv jav Javanese|ka kat Georgian|kg kon Kongo
ki kik Kikuyu|kk kaz Kazakh|kl kal Greenlandic|km khm Khmer|kn kan Kannada|ko kor Korean|kr kau Kanuri|ks kas Kashmiri
ku kur Kurdish|kw cor Cornish|ky kir Kyrgyz|la lat Latin|lb ltz Luxembourgish|lg lug Ganda|li lim Limburgish
ln lin Lingala|lo lao Lao|lt lit Lithuanian|lu lub Luba-Katanga|lv lav Latvian|mg mlg Malagasy|mi mri Maori
mk mkd Macedonian|ml mal Malayalam|mn mon Mongolian|mr mar Marathi|ms msa Malay|mt mlt Maltese|my mya Burmese
nb nob Norwegian Bokmål|ne nep Nepali|nl nld Dutch|nn nno Norwegian Nynorsk|no nor Norwegian|ny nya Chichewa
oc oci Occitan|om orm Oromo|or ori Odia|os oss Ossetian|pa pan Punjabi|pl pol Polish|ps pus Pashto|pt por Portuguese
qu que Quechua|rm roh Romansh|rn run Rundi|ro ron Romanian|ru rus Russian|rw kin Kinyarwanda|sa san Sanskrit
sc srd Sardinian|sd snd Sindhi|se sme Northern Sami|sg sag Sango|si sin Sinhala|sk slk Slovak|sl slv Slovenian
sm smo Samoan|sn sna Shona|so som Somali|sq sqi Albanian|sr srp Serbian|ss ssw Swati|st sot Southern Sotho
su sun Sundanese|sv swe Swedish|sw swa Swahili|ta tam Tamil|te tel Telugu|tg tgk Tajik|th tha Thai|ti tir Tigrinya
tk tuk Turkmen|tl tgl Tagalog|tn tsn Tswana|to ton Tonga|tr tur Turkish|ts tso Tsonga|tt tat Tatar|tw twi Twi
ty tah Tahitian|ug uig Uyghur|uk ukr Ukrainian|ur urd Urdu|uz uzb Uzbek|ve ven Venda|vi vie Vietnamese|vo vol Volapük
wa wln Walloon|wo wol Wolof|xh xho Xhosa|yi yid Yiddish|yo yor Yoruba|zh zho Chinese|zu zul Zulu
"""
_ROWS = [entry.split(" ", 2) for entry in _TABLE.strip().replace("\n", "|").split("|")]
_NAMES = {two: name for two, _, name in _ROWS}
_SHORT = {three: two for two, three, _ in _ROWS}
# Single languages that models name where a wider code has the two letters, and older three-letter codes.
_OTHERS = """
arb:ar azj:az cmn:zh ekk:et gaz:om khk:mn lvs:lv npi:ne ory:or pes:fa plt:mg swh:sw uzn:uz ydd:yi zsm:ms als:sq quy:qu
ayr:ay kmr:ku pbt:ps ger:de fre:fr dut:nl gre:el cze:cs rum:ro slo:sk ice:is mac:mk alb:sq baq:eu chi:zh per:fa geo:ka
arm:hy wel:cy bur:my may:ms mao:mi tib:bo
"""
for _pair in _OTHERS.split():
    _three, _, _two = _pair.partition(":")
    _SHORT[_three] = _two
_CODE = re.compile(r"([A-Za-z]{2,3})(?:[_-]([A-Za-z0-9]{2,8}))?")


def short_code(code: str) -> str | None:
    """The code that callers use for a model's code of a language, script or region dropped; None if it is none.

    Codes of three letters without a known counterpart of two stay as they are.
    """
    match = _CODE.fullmatch(code)
    if match is None:
        return None
    language = match[1].lower()
    if len(language) == 2:
        return language
    return _SHORT.get(language, language)


def known_code(code: str) -> str | None:
    """As `short_code`, for codes of single languages that are in the table only: no families of languages."""
    short = short_code(code)
    return short if short in _NAMES else None


def language_name(code: str) -> str:
    """The language's name in English, or the code itself where it is not known."""
    return _NAMES.get(short_code(code) or "", code)
