-- id: foreign-device
-- title: Data of devices that the provider does not own any more
-- title-zh: 提供方已不再拥有设备的数据
-- clause: data sharing rules, art. 3: who offers data of a device owns it
-- clause-zh: 数据共享规则第三条：提供设备数据者应为设备所有者
-- severity: high
-- subject: dataset_id
-- owner: owner
SELECT shared.dataset_id AS dataset_id,
       shared.owner AS owner,
       shared.device AS device,
       device.owner AS device_owner,
       shared.offered_at AS offered_at
FROM data_sharing.dataset AS shared
JOIN device_registry.device AS device
  ON device.device_id = shared.device
WHERE shared.state = 'offered' AND shared.owner <> device.owner
ORDER BY shared.dataset_id
