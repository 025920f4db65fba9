-- id: long-suspended
-- title: Devices suspended for long
-- title-zh: 长期停用的设备
-- clause: device registry rules, art. 7: a suspended device is resumed or revoked in time
-- clause-zh: 设备登记规则第七条：停用的设备应及时恢复或吊销
-- severity: medium
-- subject: device_id
-- owner: owner
SELECT device_id,
       owner,
       reason,
       changed_at AS suspended_at,
       (:as_of_time - changed_at) / 86400000 AS suspended_days
FROM device_registry.device
WHERE state = 'suspended'
  AND :as_of_time - changed_at > :days * 86400000
ORDER BY device_id
