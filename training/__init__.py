"""The program that trains. It runs alone: no Django, no import from the packages beside it."""
