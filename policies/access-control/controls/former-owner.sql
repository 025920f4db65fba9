-- id: former-owner
-- title: Rights that a former owner of the device gave
-- title-zh: 原所有者遗留的访问权
-- clause: access rules, art. 9: with the device pass the decisions over it; what is left is withdrawn
-- clause-zh: 访问控制规则第九条：设备转让后访问决定权随之转移，遗留权限应当撤回
-- severity: medium
-- subject: right_id
-- owner: owner
SELECT access_right.right_id AS right_id,
       access_right.device AS device,
       device.owner AS owner,
       access_right.owner AS granted_by,
       access_right.visitor AS visitor,
       access_right.operations AS operations,
       access_right.changed_at AS granted_at
FROM access_control.access_right AS access_right
JOIN device_registry.device AS device
  ON device.device_id = access_right.device
WHERE access_right.state = 'granted' AND access_right.owner <> device.owner
ORDER BY access_right.right_id
