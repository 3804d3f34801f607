"""The defences, each with the test that must go red when it is taken out; one module for each area."""
