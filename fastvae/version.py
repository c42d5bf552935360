"""The version, in a module that imports nothing, so that the build reads it without the package's dependencies."""

VERSION = "0.1.0"
