"""Tests of making cities."""
