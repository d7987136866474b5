#!/bin/sh
# The schemas of all services, two at a time; Keystone with its first user.
set -e
password=$1
url=$2
as() {
    user=$1
    shift
    su -s /bin/sh "$user" -c "$*" >"/tmp/databases-$user.log" 2>&1 || {
        echo "$*" >&2
        tail -n 5 "/tmp/databases-$user.log" >&2
        exit 1
    }
}
(
    as keystone keystone-manage db_sync
    as keystone keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
    as keystone keystone-manage credential_setup --keystone-user keystone --keystone-group keystone
    export OS_BOOTSTRAP_PASSWORD="$password"
    as keystone keystone-manage bootstrap --bootstrap-region-id RegionOne \
        --bootstrap-admin-url "$url" --bootstrap-internal-url "$url" --bootstrap-public-url "$url"
    systemctl enable -q --now keystone
    as placement placement-manage db sync
    as glance glance-manage db_sync
    as cinder cinder-manage db sync
) &
first=$!
as neutron neutron-db-manage --config-file /etc/neutron/neutron.conf \
    --config-file /etc/neutron/plugins/ml2/ml2_conf.ini upgrade head &
second=$!
as nova nova-manage api_db sync
as nova nova-manage cell_v2 map_cell0
as nova nova-manage db sync
as nova nova-manage cell_v2 create_cell --name=cell1
wait $first
wait $second
