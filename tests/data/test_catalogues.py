"""Text from the catalogues of programs."""

import polib
import pytest

from hf_polyglot.data.catalogues import translated_sentences


@pytest.fixture
def catalogues(tmp_path):
    """Two programs in Lithuanian, one of them compiled."""
    folder = tmp_path / "lt" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    editor = polib.POFile()
    editor.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for original, translation in (
        ("Close the window now", "Užverti langą <b>dabar</b>\nAr tikrai to norite?"),
        ("Save the _file as", "Įrašyti fail_ą kitu vardu (~F)"),
        ("Not translated at all here", "Not translated at all here"),
        ("Missing translation of this text", ""),
        ("Found %d files in folder", "Rasta %d failų šiame aplanke"),
        ("Open", "Atverti"),
        ("The value is &lt;none&gt; now", "Reikšmė dabar yra &lt;none&gt;"),
        ("Start $[officename] Writer again", "Paleiskite $[officename] Writer iš naujo"),
        ("Search &amp; replace all text", "Ieškoti &amp; pakeisti visą tekstą"),
        ("Change the content of it", "Ar pakeisti „#“ turinį?"),
        ("At most %.2f per cent of it", "Daugiausia %.2f procento viso"),
        ("Fill in {0:d} of the fields", "Užpildyti {0:d} šių laukų"),
        ("Give <name> to this file", "Suteikti <name> šiam failui"),
        ("The variable LC_ALL of R&D is set", "Kintamasis LC_ALL iš R&D nustatytas"),
        ("The ~format of the &page", "Šio ~puslapio &formatas yra"),
    ):
        editor.append(polib.POEntry(msgid=original, msgstr=translation))
    editor.append(polib.POEntry(msgid="Old text of this", msgstr="Senas šio dalyko tekstas", obsolete=True))
    editor.append(polib.POEntry(msgid="New text of this", msgstr="Ne visai šio dalyko tekstas", flags=["fuzzy"]))
    editor.append(
        polib.POEntry(
            msgid="One more file here",
            msgid_plural="More files are here",
            msgstr_plural={0: "Dar vienas failas čia", 1: "Dar keli failai čia"},
        )
    )
    editor.append(
        polib.POEntry(
            msgid="One word is left",
            msgid_plural="More words are left",
            msgstr_plural={0: "", 1: "More words are left"},
        )
    )
    editor.save(str(folder / "editor.po"))
    viewer = polib.MOFile()
    viewer.metadata = editor.metadata
    viewer.append(polib.POEntry(msgid="Close the window", msgstr="Užverti langą dabar"))
    viewer.append(polib.POEntry(msgid="Do it", msgstr="Šio puslapio negalima parodyti"))
    viewer.save(str(folder / "viewer.mo"))
    return tmp_path / "lt"


def test_what_is_translated_and_reads_as_text_is_kept_once(catalogues):
    assert translated_sentences([catalogues], min_words=3) == [
        "Užverti langą dabar",
        "Ar tikrai to norite?",
        "Įrašyti failą kitu vardu",
        "Ieškoti & pakeisti visą tekstą",
        "Kintamasis LC_ALL iš R&D nustatytas",
        "Šio puslapio formatas yra",
        "Dar vienas failas čia",
        "Dar keli failai čia",
        "Šio puslapio negalima parodyti",
    ]
    assert translated_sentences([catalogues / "LC_MESSAGES" / "viewer.mo"]) == ["Šio puslapio negalima parodyti"]


def test_what_is_no_catalogue_or_has_no_text_is_refused(catalogues):
    damaged = catalogues / "damaged.mo"
    damaged.write_bytes(b"no catalogue at all")

    with pytest.raises(ValueError, match=r"damaged.mo: .*; expected a gettext catalogue. Leave it out, or mend it"):
        translated_sentences([catalogues])
    with pytest.raises(ValueError, match=r"nothing is no gettext catalogue and has none; expected a file .mo or .po"):
        translated_sentences([catalogues / "nothing"])
    damaged.write_bytes(b"")
    with pytest.raises(ValueError, match=r"damaged.mo: .*; expected a gettext catalogue. Leave it out, or mend it"):
        translated_sentences([catalogues])
    damaged.unlink()
    with pytest.raises(ValueError, match=r"have no translation of 9 words or more; expected some. Take a lower"):
        translated_sentences([catalogues], min_words=9)
