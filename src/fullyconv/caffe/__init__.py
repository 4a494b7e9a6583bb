"""Caffe's files, read and written in numpy, without Caffe and without protobuf."""

from fullyconv.caffe.blob import read_mean, write_mean
from fullyconv.caffe.caffemodel import (
    CaffeLayer,
    CaffeNet,
    read_caffemodel,
    write_caffemodel,
)

__all__ = [
    "CaffeLayer",
    "CaffeNet",
    "read_caffemodel",
    "read_mean",
    "write_caffemodel",
    "write_mean",
]
