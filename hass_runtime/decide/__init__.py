"""The judgement: pure functions from what was seen to what is to be done.

Nothing in this package does I/O, reads a clock or draws a random number: time comes in as an argument,
so the same code can be driven by the daemon and by a made-up world.
"""
