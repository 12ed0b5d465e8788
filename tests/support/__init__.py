"""What the tests build with: real distributions, revision trees, sites, processes and databases.

Not a testing framework: nothing here knows the inside of anabranch, and nothing is faked.
"""
