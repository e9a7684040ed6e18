"""What mapping finds on its way, by its name of before: it is the SDK's, for every format."""

from connectors.sdk.report import Report

__all__ = ["Report"]
