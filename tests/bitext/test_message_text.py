"""The plain text of messages: what is removed as the program's, and what stays though it looks like it."""

import pytest

from kivuko.bitext.message_text import has_letters, is_nested, plain_pair


@pytest.mark.parametrize(
    ("english", "plain"),
    [
        ("Delete %d files in %s?", "Delete files in?"),
        ("Delete %1$s from %2$s now", "Delete from now"),
        ("File “%s” is missing", "File is missing"),
        ("Error: %s", "Error"),
        ("%s: not found", "not found"),
        ("%(count)d files by %(name)s.", "files by."),
        ("Page {0} of {total}", "Page of"),
        ("Hi {{name}}, hello", "Hi, hello"),
        ("Welcome to ${product}", "Welcome to"),
        ("100%% done", "100% done"),
        ("100% sure", "100% sure"),
        ("50%de", "50%de"),
        ("%.2f seconds", "seconds"),
        ("%PRODUCTNAME help", "help"),
        ("Open <b>this</b> file<br/>now", "Open this file now"),
        ("R &amp; D &lt;key&gt;", "R & D <key>"),
        ("_: a comment of KDE\nOpen", "Open"),
        ("No link to %s:%s (%s).", "No link to."),
        ("It costs $5", "It costs $5"),
        ("Too large ({{ size }} {{ unit }}), %s (%s)", "Too large"),
        ("On %-d %B at %l:%M", "On at"),
        ("$(ARG1) pages", "pages"),
    ],
)
def test_what_belongs_to_the_program_is_removed(english: str, plain: str) -> None:
    assert plain_pair("Habari", english) == ("Habari", plain)


@pytest.mark.parametrize(
    ("text", "english", "plain"),
    [
        ("_Faili", "_File", ("Faili", "File")),
        ("Hi_fadhi kama…", "Save _As…", ("Hifadhi kama…", "Save As…")),
        ("&Faili", "Sa&ve", ("Faili", "Save")),
        ("~Datei", "~File", ("Datei", "File")),
        ("文件(_F)", "_File", ("文件", "File")),
        ("ファイル(&F)...", "&File...", ("ファイル...", "File...")),
        ("_OK", "_OK", ("OK", "OK")),
        ("Idara ya R&D", "R&D", ("Idara ya R&D", "R&D")),
        ("F&E", "R&D", ("F&E", "R&D")),
        ("faili file_name", "the file_name.", ("faili file_name", "the file_name.")),
        ("a __init__", "_a_b_c", ("a __init__", "_a_b_c")),
        ("Paka && mbwa", "Cat && dog", ("Paka & mbwa", "Cat & dog")),
        ("Paka & mbwa", "Cat & dog", ("Paka & mbwa", "Cat & dog")),
        ("Schwarz&amp;Weiß", "Black&amp;White", ("Schwarz&Weiß", "Black&White")),
        ("ona ~/x", "see ~/x", ("ona ~/x", "see ~/x")),
        ("http://a.b?c=1&d=2", "at http://a.b?c=1&d=2", ("http://a.b?c=1&d=2", "at http://a.b?c=1&d=2")),
    ],
)
def test_accelerator_marks_are_removed_and_names_stay(text: str, english: str, plain: tuple[str, str]) -> None:
    assert plain_pair(text, english) == plain


def test_a_numbered_placeholder_is_one_where_both_sides_have_it() -> None:
    assert plain_pair("Ukurasa %1 wa %2", "Page %1 of %2") == ("Ukurasa wa", "Page of")
    assert plain_pair("%50 indirim", "50% off") == ("%50 indirim", "50% off")


def test_forms_in_braces_and_messages_without_letters_are_recognized() -> None:
    text, _ = plain_pair("{n, plural, one {faili #} other {faili #}}", "x")
    assert is_nested(text)
    assert not is_nested(plain_pair("faili {0}", "x")[0])
    assert has_letters("paka 3")
    assert has_letters("काली")
    assert not has_letters("3 × 4 (%) …")
