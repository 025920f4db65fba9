-- id: shared-key
-- title: Devices that share a signing key
-- title-zh: 共用签名密钥的设备
-- clause: device registry rules, art. 3: a key belongs to one device
-- severity: critical
-- subject: device_id
SELECT one.device_id AS device_id, other.device_id AS other_device, one.owner AS owner
FROM device_registry.device AS one
JOIN device_registry.device AS other
  ON other.identity = one.identity AND other.device_id <> one.device_id
WHERE one.state <> 'revoked' AND other.state <> 'revoked'
ORDER BY one.device_id, other.device_id
