from openjepa.nn.processor import Processor, parse, processor

ZEN4 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512f

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 99
"""


def test_the_first_core_is_read():
    core = parse(ZEN4)
    assert (core.name, core.family, core.model, core.generation) == ("AMD EPYC", 25, 17, "Zen 4")
    assert core.text() == "AMD EPYC (Zen 4, family 25 model 17)"


def test_what_is_unknown_has_no_generation():
    assert Processor("chip").text() == "chip"
    assert Processor("chip", "GenuineIntel", 6, 143, frozenset({"avx512f"})).generation == ""
    assert parse("model name : chip\ncpu family : none\n") == Processor("chip")


def test_this_machine_has_a_name():
    assert processor().name
