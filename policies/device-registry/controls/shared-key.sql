-- id: shared-key
-- title: Devices that share a signing key
-- title-zh: 共用签名密钥的设备
-- clause: device registry rules, art. 3: a key belongs to one device
-- clause-zh: 设备登记规则第三条：一把密钥只属于一台设备
-- severity: critical
-- subject: device_id
-- each: other_device
-- owner: owner
SELECT one.device_id AS device_id, other.device_id AS other_device, one.owner AS owner
FROM device_registry.device AS one
JOIN device_registry.device AS other
  ON other.identity = one.identity AND other.device_id <> one.device_id
WHERE one.state <> 'revoked' AND other.state <> 'revoked'
ORDER BY one.device_id, other.device_id
