#!/bin/sh
echo "a thing with $X and `backticks`"
