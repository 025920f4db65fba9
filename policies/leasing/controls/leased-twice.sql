-- id: leased-twice
-- title: Devices promised in two leases at once
-- title-zh: 同一设备重复出租
-- clause: leasing supervision rules, art. 4: a device is let to one lessee at a time
-- clause-zh: 租赁监管规则第四条：同一设备同一时期只能出租给一个承租人
-- severity: critical
-- subject: device
-- each: lease_id
-- owner: owner
SELECT one.device AS device,
       one.lease_id AS lease_id,
       one.owner AS owner,
       one.lessee AS lessee,
       COUNT(*) AS others,
       one.changed_at AS since
FROM leasing.lease AS one
JOIN leasing.lease AS other
  ON other.device = one.device AND other.lease_id <> one.lease_id
WHERE one.state IN ('agreed', 'delivered', 'active', 'overdue', 'defaulted', 'returning', 'buying')
  AND other.state IN ('agreed', 'delivered', 'active', 'overdue', 'defaulted', 'returning', 'buying')
GROUP BY one.lease_id
ORDER BY one.device, one.lease_id
