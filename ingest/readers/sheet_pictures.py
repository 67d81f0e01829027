"""Pictures that stand in the cells of an .xlsx -> their alternative texts; the cells themselves hold an error value.

Source: [MS-XLSX], 2.3.6 (rich data): a cell names an entry of the metadata, and that a value of a stated structure.
"""

from zipfile import ZipFile

from ingest.readers.package import parse_xml

_FOLDER = "xl/richdata/"
_IMAGE = "_rvRel:LocalImageIdentifier"


def picture_texts(archive: ZipFile, members: dict[str, str]) -> dict[str, str]:
    """What cells say instead of their error value, by the entry of the metadata (`vm`) that they name.

    `members` are the names in the archive by their form in lower case.
    """
    about, values, forms = (
        parse_xml(archive.read(members[name])) if name in members else None
        for name in ("xl/metadata.xml", f"{_FOLDER}rdrichvalue.xml", f"{_FOLDER}rdrichvaluestructure.xml")
    )
    if about is None or values is None or forms is None:
        return {}
    keys = [[key.get("n", "") for key in form.iter("{*}k")] for form in forms.iter("{*}s")]
    texts: list[str | None] = []
    for value in values.iter("{*}rv"):
        form = value.get("s", "")
        names = keys[int(form)] if form.isdecimal() and len(form) < 6 and int(form) < len(keys) else []
        stated = dict(zip(names, (child.text or "" for child in value.iter("{*}v")), strict=False))
        texts.append(stated.get("Text", "") if _IMAGE in stated else None)
    kinds = about.findall("{*}futureMetadata[@name='XLRICHVALUE']/{*}bk")
    places = [next((each.get("i", "") for each in kind.iter("{*}rvb")), "") for kind in kinds]
    found: dict[str, str] = {}
    for number, entry in enumerate(about.iterfind("{*}valueMetadata/{*}bk"), start=1):
        link = next((each.get("v", "") for each in entry.iter("{*}rc")), "")
        place = places[int(link)] if link.isdecimal() and len(link) < 8 and int(link) < len(places) else ""
        text = texts[int(place)] if place.isdecimal() and len(place) < 8 and int(place) < len(texts) else None
        if text is not None:
            found[str(number)] = text
    return found
