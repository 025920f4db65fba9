-- id: many-transfers
-- title: Devices that changed hands unusually often
-- title-zh: 转让次数异常的设备
-- clause: device registry rules, art. 9: the chain of owners is plausible
-- severity: low
-- subject: device_id
SELECT device_id, owner, maker, transfers
FROM device_registry.device
WHERE state <> 'revoked' AND transfers > :most
ORDER BY device_id
