"""An embedded cluster for demo and tests: real Nova, real BMCs on loopback, real agents, no root.

layout -> one directory, addresses and configuration files; bmc, nic, machine -> one compute host;
cluster -> all of them with OpenStack and the controller; control -> the socket that commands it.
"""
