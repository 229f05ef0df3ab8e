"""Command lines as Go's flag package reads them, which flanneld's users are used to."""

import argparse
from collections.abc import Mapping, Sequence


def as_go_reads(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """``words`` with each flag of ``parser`` as one word that argparse cannot misread.

    ``-x=y``, ``-x y``, ``--x=y`` and ``--x y`` become ``--x=y``, whatever y begins with; a flag of
    yes or no takes no word after it. What is no flag stays as it is, and so does all after ``--``.
    """
    actions = {
        text.lstrip("-"): action
        for action in parser._actions  # argparse tells of them nowhere else
        for text in action.option_strings
    }
    result: list[str] = []
    todo = list(reversed(words))
    while todo:
        word = todo.pop()
        if word == "--":
            return [*result, word, *reversed(todo)]
        result.append(_one_word(word, todo, actions))
    return result


def _one_word(word: str, following: list[str], actions: Mapping[str, argparse.Action]) -> str:
    """``word`` with its value, which is taken from the end of ``following`` if it is there."""
    name, equals, value = word.lstrip("-").partition("=")
    dashes = len(word) - len(word.lstrip("-"))
    if dashes not in {1, 2} or not name:
        return word
    action = actions.get(name)
    if action is None:
        return word if dashes == 2 else f"-{word}"
    flag = next(text for text in action.option_strings if text.lstrip("-") == name)
    if f"--{name}" in action.option_strings:
        flag = f"--{name}"
    if equals:
        return f"{flag}={value}"
    if action.nargs == "?" and not _takes_next(action, following):
        return f"{flag}={action.const}"
    if action.nargs == 0 or not following:
        return flag
    return f"{flag}={following.pop()}"


def _takes_next(action: argparse.Action, following: Sequence[str]) -> bool:
    """A flag that may stand alone takes the next word only where it can be nothing else."""
    return action.const != "true" and bool(following) and following[-1].isdecimal()
