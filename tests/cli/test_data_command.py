"""``kivuko data emoji`` as a user meets it."""

from kivuko.datasets.emoji.world import emoji_world


def test_the_command_prints_the_sizes_of_the_world_that_the_call_returns(run_here, tiny_cldr, few_test_concepts):
    status, out, err = run_here("data", "emoji", "--languages", "sw", "mr", "--cldr", str(tiny_cldr))
    assert status == 0, err
    world = emoji_world(["sw", "mr"], cldr=tiny_cldr)
    assert f"{len(world.emoji):,} emoji, {len(world.images):,} distinct images" in out
    lines = [line.split() for line in out.splitlines()]
    for code in world.languages:
        counts = [f"{count:,}" for count in world.counts(code)]
        assert [code, *counts] in [[words[0], *words[-8:]] for words in lines if words]


def test_the_list_is_that_of_the_call(run_here, tiny_cldr):
    from kivuko.datasets.emoji.sources import available_languages

    status, out, err = run_here("data", "emoji", "--list", "--cldr", str(tiny_cldr))
    assert status == 0, err
    assert {*available_languages(tiny_cldr)} <= {*out.split()}
