-- id: long-suspended
-- title: Devices suspended for long
-- title-zh: 长期停用的设备
-- clause: device registry rules, art. 7: a suspended device is resumed or revoked in time
-- severity: medium
-- subject: device_id
SELECT device_id, owner, reason, changed_at AS suspended_at
FROM device_registry.device
WHERE state = 'suspended'
  AND :as_of_time - changed_at > :days * 86400000
ORDER BY device_id
