"""Engines that run the stages of a study.

Imports the modules of `experiments` itself and below.
"""
