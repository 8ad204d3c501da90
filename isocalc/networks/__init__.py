"""Descriptions of random networks, validated when they are made; no computation.

``descriptions`` has the networks, ``branches`` what their kinds of layers and blocks say of themselves.
"""
