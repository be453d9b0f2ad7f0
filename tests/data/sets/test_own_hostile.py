"""Files of one's own that are wrong: each is refused, by its row and column, with the mend."""

import pytest

import deeplab as dl
from deeplab.core.errors import UserError

HOURS = [f"2024-01-01T{hour:02}:00" for hour in range(24)]
SMALL = {"context": 3, "horizon": 2}


def series(path):
    return dl.data.series(path, time="t", **SMALL)


def sentences(path):
    return dict(dl.data.sentences(path, text="body", label="stars").splits)


def pairs(path):
    return dict(dl.data.pairs(path, vocab_size=260).splits)


def two_files(path):
    other = path.with_suffix(".fr")
    other.write_text("un\ndeux\ntrois\n")
    return dict(dl.data.pairs(path, other, vocab_size=260).splits)


def bought(path):
    return dict(dl.data.interactions(path, "who", "what", time="day").splits)


def rated(path):
    return dict(dl.data.interactions(path, "who", "what", "stars").splits)


def clock(*rows):
    return "t,a\n" + "".join(f"{row}\n" for row in rows)


HOSTILE = [
    (series, "own.csv", "", "has no rows; expected the names of the columns"),
    (series, "own.csv", "t,a\n", "has no rows"),
    (series, "own.csv", clock(f"{HOURS[0]},1"), "has 1 rows, of which 1 are for training; expected at least 5"),
    (series, "own.csv", clock(f"{HOURS[0]},1", f"{HOURS[2]}"), "row 3 has 1 cells, expected 2"),
    (series, "own.csv", b"t,a\n1,\xff\n", "is not UTF-8 text: byte 0xff in line 2"),
    (series, "own.csv", clock(*(f"{h},{'NaN' if i == 3 else i}" for i, h in enumerate(HOURS))),
     r"row 5, column 'a': missing \(1 such values\); fill them in, or give fill=\"previous\""),
    (series, "own.csv", clock(*(f"{h},{'x' if i == 3 else i}" for i, h in enumerate(HOURS))), "row 5, column 'a': 'x'"),
    (series, "own.csv", clock(*(f"{h},{'inf' if i == 3 else i}" for i, h in enumerate(HOURS))),
     "row 5, column 'a': inf"),
    (series, "own.csv", clock(*(f"{h},1" for h in HOURS[:3] + HOURS[2:])),
     r"row 5, column 't': 2024-01-01T02:00:00 is there twice \(1 such rows\)"),
    (series, "own.csv", clock(*(f"{h},1" for h in reversed(HOURS))),
     "row 3, column 't': 2024-01-01T22:00:00 comes after 2024-01-01T23:00:00; sort the rows"),
    (series, "own.csv", clock(*(f"{h},1" for h in HOURS[:5] + HOURS[6:])),
     r"row 7, column 't': .*T06:00:00 comes 2:00:00 after .*T04:00:00, expected 1:00:00 \(1 such rows\)"),
    (series, "own.csv", "tt,a\n1,2\n", "has no column 't', which is the time; did you mean 'tt'"),
    (series, "own.csv", clock(*(f"{h},one" for h in HOURS)), "has no column of numbers"),
    (sentences, "own.csv", "", "has no rows"),
    (sentences, "own.csv", "body,stars\n", "has no rows"),
    (sentences, "own.csv", "body,stars\ngood,1\n", "holds '1' alone, expected two classes"),
    (sentences, "own.csv", "boddy,stars\ngood,1\n", "has no column 'body', which is the text; did you mean 'boddy'"),
    (sentences, "own.csv", "body,stars\ngood,1\nbad,\n", r"row 3, column 'stars': empty \(1 such rows\); remove them"),
    (sentences, "own.csv", "body,stars\n,1\nbad,2\n", "row 2, column 'body': empty"),
    (sentences, "own.csv", b"body,stars\ncaf\xe9,1\n", "is not UTF-8 text: byte 0xe9 in line 2"),
    (sentences, "own.csv", "body,stars\na, b,1\n", "row 2 has 3 cells, expected 2"),
    (sentences, "own.csv", "body;stars\na;1\n", "separates its cells by ';'"),
    (sentences, "own.txt", "", "is empty; expected lines of a label, a tab and a text"),
    (sentences, "own.txt", "1\tgood\nbad\n", "line 2: 'bad', expected a label, a tab and a text"),
    (sentences, "absent.csv", None, "there is no file"),
    (pairs, "own.csv", "", "has no rows"),
    (pairs, "own.csv", "en,fr,de\na,b,c\n", r"has the columns en, fr, de; give two of them, as in columns="),
    (pairs, "own.txt", "one\tun\ntwo\n", "line 2: no tab between a text and its translation"),
    (pairs, "own.txt", b"one\tu\xff\n", "is not UTF-8 text: byte 0xff in line 1"),
    (pairs, "own.csv", "en,fr\none,un\n", "split 'test' of pairs gets no pair of texts"),
    (pairs, "absent.txt", None, "there is no file"),
    (two_files, "own.en", "one\ntwo\n", r"has 2 lines and .*own.fr has 3; expected as many"),
    (bought, "own.csv", "", "has no rows"),
    (bought, "own.csv", "who,what,day\na,b,1\n", "none of the 1 users of .* has four events or more"),
    (bought, "own.csv", "who,what,day\na,b,1\na,,2\n", "row 3, column 'what': empty, and is the item of an event"),
    (bought, "own.csv", "who,what,day\na,b,monday\n", "column 'day' of .* is the time, expected numbers or dates"),
    (bought, "own.csv", "who,wat,day\na,b,1\n", "has no column 'what', which is the item; did you mean 'wat'"),
    (rated, "own.csv", "who,what,stars\na,b,1\n", "gets none of 1 ratings"),
    (rated, "own.csv", "who,what,stars\na,b,1\na,c,x\na,d,2\n", "row 3, column 'stars': 'x'"),
    (rated, "own.csv", "who,what,stars\na,b,\n", "row 2, column 'stars': empty"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "content", "message"), HOSTILE)
def test_hostile_files_are_refused(kind, name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        kind(tmp_path / name)


@pytest.mark.parametrize(
    "change", [lambda s: s, lambda s: "\ufeff" + s, lambda s: s.replace("\n", "\r\n") + "\r\n\r\n"]
)
def test_a_byte_order_mark_and_windows_lines_change_nothing(change, tmp_path, cache):
    """The same examples, whichever editor wrote the file."""
    text = "body,stars\n" + "".join(f'"{word}, ""so"" ü",{k % 2}\n' for k, word in enumerate("abcdefghij"))
    (tmp_path / "own.csv").write_text(change(text), encoding="utf-8", newline="")
    lines = dl.data.sentences(tmp_path / "own.csv", text="body", label="stars")
    found = [bytes(t).rstrip(b"\0").decode() for t in lines.open("test").arrays["text"]]
    assert sorted(found) == sorted(f'{word}, "so" ü' for word in found_words(found))
    assert dict(lines.splits) == {"train": 8, "test": 2}


def found_words(texts):
    return [text[0] for text in texts]


@pytest.mark.parametrize("source", [None, 3, {}, {1, 2}, object()])
@pytest.mark.parametrize(
    "read", [dl.data.series, dl.data.sentences, dl.data.pairs, lambda s: dl.data.interactions(s, time="t")]
)
def test_what_is_no_table_is_named(read, source):
    with pytest.raises(
        UserError, match=f"the table is {type(source).__name__}, expected a path, a data frame, or a dict"
    ):
        read(source)
