"""The frame of the conformance kits: requirements, who has to hold them, results and reports.

A kit is a class with ``kit="NAME"`` over ``Conformance`` classes, one a level or subject, whose
methods are the tests of its requirements: ``@requirement("B103", title, why=...)`` over a plain
or a coroutine function. A test says what is wrong with ``verdicts.held(condition, sentence)`` or
``Broken``, and ends with ``does_not_apply`` or ``leave_out`` where it judges nothing. One
requirement is one test: what it holds for is a loop inside, so that a test can be called by hand.
"""
