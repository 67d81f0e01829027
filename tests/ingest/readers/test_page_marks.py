"""What stands in a line of a web page beside plain text."""

import pytest

from tests.ingest.readers.test_markup import html


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>10<sup>-6</sup> mol, 12 m<sup>2</sup>, CO<sub>2</sub></p>", "10^-6 mol, 12 m^2, CO2"),
        ("<p>28<sup>1</sup> days</p>", "28 [1] days"),
        ("<p>28<sup><a href='#fn1'>1</a></sup> days</p>", "28 [1] days"),
        ("<p>10<sup class='footnote'>2</sup> days</p>", "10 [2] days"),
        ("<p>up to 5&nbsp;000<sup>1</sup> kWh</p>", "up to 5 000 [1] kWh"),
        ("<p><b>1,200</b><sup>3</sup> euros</p>", "1,200 [3] euros"),
        ("<p>the 3<sup>rd</sup> day</p>", "the 3rd day"),
        ("<p>in <math><mfrac><mn>3</mn><mn>4</mn></mfrac></math> hour</p>", "in 3/4 hour"),
        ("<p>x = <math><msup><mn>2</mn><mn>10</mn></msup></math>.</p>", "x = 2^10."),
        ("<p><math alttext='a/b'></math></p>", "a/b"),
        ("<p><label>Contract <input value='V-55'></label></p>", "Contract V-55"),
        ("<p><input type=checkbox checked> paperless <input type='checkbox'> by post</p>", "☑ paperless ☐ by post"),
        ("<p><input type=radio checked=checked>A <input type=radio>B</p>", "☑ A ☐ B"),
        ("<p>a<input type=hidden value=no><input type=password value=no><input type=submit value=no></p>", "a"),
        ("<p>City <select><option>Bonn<option selected>Köln</select>.</p>", "City Köln ."),
        ("<p>City <select><option>Bonn<option>Köln</select>.</p>", "City ."),
        ("<p>by 2<math><mfrac><mn>3</mn><mn>4</mn></mfrac></math> hours</p>", "by 2 3/4 hours"),
        ("<p>From<input value='2025-03-01'>to<input type=date value='2025-04-02'>7 days</p>",
         "From 2025-03-01 to 2025-04-02 7 days"),
        ("<p><button>Buy</button><button>Rent</button></p>", "Buy Rent"),
        ("<p>Note <textarea>call before nine</textarea></p>", "Note call before nine"),
        ("<p>Call <img alt='+49 30 5550 123' src=tel.png> for help.</p>", "Call +49 30 5550 123 for help."),
        ("<p>a<img alt='logo'><img alt='Company logo'><img alt='IMG_2031.JPG'><img alt=''><img></p>", "a"),
        ("<figure><img alt='Plan of hall 3'><figcaption>Plan of hall 3</figcaption></figure>", "Plan of hall 3"),
        ("<p>a<img alt='seen by nobody' aria-hidden=true></p>", "a"),
        ("<p><img alt='{\\displaystyle E=mc^{2}}'></p>", "E=mc^{2}"),
        ("<p><span class='katex'><span class='katex-mathml'><math><mn>7</mn></math></span>"
         "<span class='katex-html' aria-hidden='true'>7</span></span></p>", "7"),
    ],
)  # fmt: skip
def test_it_is_written_as_a_person_reads_it(body: str, text: str) -> None:
    assert html(body).text == text


@pytest.mark.parametrize(
    "struck",
    [
        "<del>89</del>", "<s>89</s>", "<strike>89</strike>", "<span style='text-decoration:line-through'>89</span>",
        "<span class=old>89</span>", "<del>8<b>9</b></del>",
    ],
)  # fmt: skip
def test_struck_text_is_left_out_and_counted(struck: str) -> None:
    document = html(
        f"<p>The fee is {struck} <ins>75</ins> euros.</p>", "<style>.old{text-decoration: line-through}</style>"
    )
    assert document.text == "The fee is 75 euros."
    assert document.notes == ("2 characters were left out: they are struck out",)


def test_underlined_text_stays() -> None:
    assert html("<p><u style='text-decoration: underline'>75</u></p>").text == "75"


def test_text_beside_the_one_article_is_read() -> None:
    article = "<article><h2>Reset</h2><p>" + "Press the button until the lamp turns amber. " * 10 + "</p></article>"
    document = html(f"{article}<section><h2>Data</h2><p>The warranty is 36 months.</p></section>")
    assert "36 months" in document.text
    assert [section.headings for section in document.sections] == [("Reset",), ("Data",)]


def test_merged_cells_stand_in_each_place_that_they_cover() -> None:
    document = html(
        "<table><thead><tr><th rowspan=2>Region<th colspan=2>Revenue</tr><tr><th>Domestic<th>Export</tr></thead>"
        "<tr><td>North<td>2000<td>7200</tr><tr><td>South<td colspan=2>none</tr></table>"
    )
    assert document.text.split("\n") == [
        "| Region | Revenue Domestic | Revenue Export |", "| --- | --- | --- |", "| North | 2000 | 7200 |",
        "| South | none | none |",
    ]  # fmt: skip


def test_a_table_that_names_its_columns_may_hold_lists_and_fields() -> None:
    document = html(
        "<table><tr><th>Item<th>Parts</tr><tr><td>Pump<td><ul><li>seal<li>bolt</ul></tr>"
        "<tr><td>Valve<td><input value=V-9></tr></table>"
    )
    assert document.text.split("\n")[2:] == ["| Pump | seal bolt |", "| Valve | V-9 |"]
