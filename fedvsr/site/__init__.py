"""A site: a client that its owner runs, outside the federation's cluster.

The agent (`fedvsr.site.agent`) asks the federation's store for assignments, the site's policy decides, and a
worker (`fedvsr.site.work`) makes shards, trains and delivers. Everything that the site keeps is in one folder
(`fedvsr.site.folder`). The federation never calls the site.
"""
