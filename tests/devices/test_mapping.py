"""Mapping files: what is wrong is named by file, line and fix; shipped ones are sound."""

from __future__ import annotations

import pytest

from devices.errors import DeviceError, MappingError
from devices.mapping import load_mapping, parse_mapping, shipped_mappings
from devices.units import CONVERSIONS, conversion

GOOD = """\
kind = "pole"
[device]
id = "p-{station}"
[time]
columns = "when"
zone = "UTC"
[missing]
marks = ["NA", ""]
[columns."PM2.5"]
quantity = "pm25"
unit = "mg/m3"
[columns.lamp]
quantity = "powerState"
states = { ON = "on", OFF = "off" }
"""


def test_a_good_one_is_read() -> None:
    """Columns, units, states and marks come out as written."""
    mapping = parse_mapping(GOOD, "m.toml")
    pm, lamp = mapping.columns
    assert (pm.quantity.name if pm.quantity else "", pm.factor, pm.offset) == ("pm25", 1000.0, 0.0)
    assert pm.missing == {"NA", ""}
    assert lamp.states == {"ON": 1.0, "OFF": 0.0}
    assert mapping.time.formats == ("iso",)


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ('kind = "pole"', 'kind = "poll"', 1, "no device kind"),
        ('kind = "pole"', 'kind = "pole', 1, "not TOML"),
        ('kind = "pole"', 'kind = "pole"\nkinds = 1', 2, "unknown key"),
        ('id = "p-{station}"', "id = 7", 3, "is not a str"),
        ('id = "p-{station}"', 'from_file = "("\nid = "p"', 3, "not a regular expression"),
        ('id = "p-{station}"', "", 2, "no device id"),
        ('zone = "UTC"', "", 4, "no zone"),
        ('zone = "UTC"', 'zone = "Mars/Olympus"', 6, "no time zone"),
        ('columns = "when"', "", 4, "either columns and format, or step_s"),
        ('columns = "when"', 'columns = "when"\nformat = "dd.mm"', 6, "no time format"),
        ('quantity = "pm25"', 'quantity = "pm2.5"', 10, "a pole has no"),
        ('unit = "mg/m3"', 'unit = "ppm"', 11, "no conversion"),
        ('unit = "mg/m3"', "", 9, "no unit"),
        ('unit = "mg/m3"', 'unit = "mg/m3"\njunk = ["x"]', 12, "not a list of numbers"),
        ('states = { ON = "on", OFF = "off" }', 'states = { ON = "bright" }', 14, "no state of powerState"),
        ("[columns.lamp]", '[columns.again]\nquantity = "pm25"\nunit = "ug/m3"\n[columns.lamp]', 12, "too"),
        ("[missing]", '[file]\njoin = "line"\n[missing]', 8, "joins no parts"),
        ("[missing]", '[file]\ndelimiter = ";;"\n[missing]', 8, "longer than one letter"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(before: str, after: str, line: int, says: str) -> None:
    """Every mistake names the file, the line where it stands, and what is wrong with it."""
    assert before in GOOD
    with pytest.raises(MappingError) as caught:
        parse_mapping(GOOD.replace(before, after, 1), "m.toml")
    assert str(caught.value).startswith(f"m.toml:{line}:"), str(caught.value)
    assert says in str(caught.value)


def test_a_missing_file_names_the_shipped_ones() -> None:
    """Who mistypes a name learns which there are."""
    with pytest.raises(MappingError, match="beijing_air"):
        load_mapping("beijing")


@pytest.mark.parametrize("name", sorted(shipped_mappings()))
def test_shipped_mappings_are_sound_and_name_their_licence(name: str) -> None:
    """Each shipped mapping can be read and says whose data it is for."""
    mapping = load_mapping(name)
    assert mapping.name == name
    assert mapping.licence
    assert mapping.about


def test_units_convert_both_ways() -> None:
    """What is converted there and back is what it was."""
    for (source, target), (factor, offset) in CONVERSIONS.items():
        assert factor > 0
        if (target, source) in CONVERSIONS:
            back, shift = CONVERSIONS[target, source]
            assert (12.5 * factor + offset) * back + shift == pytest.approx(12.5)
    factor, offset = conversion("degF", "Cel")
    assert 212 * factor + offset == pytest.approx(100)
    with pytest.raises(DeviceError, match="known are"):
        conversion("furlong", "m")
